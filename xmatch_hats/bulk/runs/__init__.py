"""How bulk work runs: tasks, what is done of them, who does them, and what is told of it."""
