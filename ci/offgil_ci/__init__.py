"""What the commands of ci/ share.  Standard library only: it runs before anything is installed."""
