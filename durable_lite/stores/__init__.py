"""The stores: each keeps runs somewhere else, behind the one `Store` port."""
