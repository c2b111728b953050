"""Records to leaderboards: loading, aggregation, BD-rates, exports, the site."""
