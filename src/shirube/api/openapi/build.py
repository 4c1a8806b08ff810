def write(folder, defs): folder.mkdir()
