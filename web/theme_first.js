// Before the first paint, so that a chosen theme does not flash; a module would come too late.
try {
  const theme = localStorage.getItem("cabinet/theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // no storage: the system's theme
}
