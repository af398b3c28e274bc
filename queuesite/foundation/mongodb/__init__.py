"""Django's backend for MongoDB, as `DATABASES` names it: it is imported when the first connection is made."""
