//! Who is on which channel on this node, and fan-out to them.
