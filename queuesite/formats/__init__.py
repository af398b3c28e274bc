"""How Django writes dates on its own pages, by language (FORMAT_MODULE_PATH)."""
