// Runs before the first paint, so that a chosen theme or language does not flash the other one.
{
  const read = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
  const theme = read("yamabiko.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  const language = read("yamabiko.language") ?? navigator.language;
  document.documentElement.lang = language.startsWith("ja") ? "ja" : "en";
}
