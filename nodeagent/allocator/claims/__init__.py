"""Admitting requests, claiming what others borrow, and bringing a group to rest afterwards."""
