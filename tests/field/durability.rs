//! The store and the program by force: failing system calls, foreign files, long chains, odd file systems.
