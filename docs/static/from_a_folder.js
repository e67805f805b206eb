// Opened from a folder, a page may not fetch others: the search then lists them without their words.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
