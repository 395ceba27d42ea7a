"""The paper's tasks, through lm-evaluation-harness, with items that need no hub: `run.evaluate_tasks`.

Importing this needs no harness; `run` does.
"""

from gaincell.evaluate.tasks.names import TASKS, Task, parse_tasks, require_harness

__all__ = ["TASKS", "Task", "parse_tasks", "require_harness"]
