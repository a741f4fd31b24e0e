"""What each command shows: a module for each, named as the command, that draws its results as text."""
