// Before the first paint: the chosen theme and language, so that nothing flashes.
try {
  var theme = localStorage.getItem('drydock.theme');
  if (theme !== 'light' && theme !== 'dark') theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  document.documentElement.dataset.theme = theme;
  var lang = localStorage.getItem('drydock.lang');
  if (lang !== 'ko' && lang !== 'en') lang = /^ko/i.test(navigator.language) ? 'ko' : 'en';
  document.documentElement.lang = lang;
} catch (e) {
  document.documentElement.dataset.theme = 'light';
}
