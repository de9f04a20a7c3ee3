"""offgil below other packages' front ends; each module needs its package installed."""
