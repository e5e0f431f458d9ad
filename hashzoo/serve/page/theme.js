"use strict";

// The theme: the system's, until the button says otherwise; for as long as the page is open.
const root = document.documentElement, theme = document.getElementById("theme");
const systemDark = window.matchMedia("(prefers-color-scheme: dark)");
function showTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  theme.textContent = dark ? "Light" : "Dark";
  theme.setAttribute("aria-label", dark ? "Change to light colours" : "Change to dark colours");
  return dark;
}
theme.addEventListener("click", () => {
  root.dataset.theme = showTheme() ? "light" : "dark";
  showTheme();
});
systemDark.addEventListener("change", showTheme);
showTheme();
theme.hidden = false;
