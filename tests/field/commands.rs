//! What a command stage may say: its shell, its secrets, its environment, files from outside the project.
