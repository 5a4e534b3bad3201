"""A swap server for networks of our own: the other end of loopd, over an lnd.

It is test equipment, and honest: a swap that it agreed to is carried out or given back,
through its own kill -9 at every step. It has one price, takes one confirmation for certain
where a real server would wait for more, and never bumps a fee.
"""
