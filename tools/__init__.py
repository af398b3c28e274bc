"""What make and CI run beside the site."""
