"""From a list of hosts to a cloud file that a person only confirms (`--draft-cloud`); trying one (`--check-cloud`)."""
