//! Results that come from elsewhere: pulled, believed, collected, shared by a group.
