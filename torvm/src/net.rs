//! The networks: the uplink, where the program's own connections go, and the clients, whose connections end here.
