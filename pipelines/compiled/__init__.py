"""The shipped recipes as compiled packages: upload them in the KFP UI as they are."""
