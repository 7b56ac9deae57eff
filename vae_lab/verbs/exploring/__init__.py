"""`lab explore`: a page that draws what codes stand for."""
