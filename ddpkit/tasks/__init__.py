"""What a rank does, a file a task: train, test, predict."""
