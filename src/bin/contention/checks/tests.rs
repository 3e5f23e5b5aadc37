//! Each check finds the breach that it is for, and names it.
