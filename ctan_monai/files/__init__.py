"""Files that are whole or not there, CSV cells, JSON, archives; nothing here knows about images."""
