"""What a person types. One module a command; the table in `main` names them all and loads each when it is used."""
