"""The app of a team: handlers with tables of their own."""
