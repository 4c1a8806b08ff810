# What a person does with a clone. Everything these need, they install themselves.
.PHONY: up down test lint bench

up: ## a one-node cluster with the hello example, from a fresh machine
	@tools/setup
	@.venv/bin/python -m shirube up --install
	@.venv/bin/python tools/hello.py

down: ## stop it and leave nothing but its data
	@tools/setup
	@.venv/bin/python -m shirube down

test: ## everything: lint, unit tests, a real cluster on real containers
	@tools/test

lint: ## style, types, import contracts, generated files
	@tools/setup dev
	@tools/lint

bench: ## what it costs, in figures
	@tools/setup dev
	@.venv/bin/python -m bench
	@.venv/bin/python -m bench.scheduler
	@.venv/bin/python -m bench.scheduler_end_to_end
