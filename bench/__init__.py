"""What pman costs, measured beside the floor: the same engine calls issued directly on the same socket."""
