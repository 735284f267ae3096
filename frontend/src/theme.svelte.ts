type Name = 'light' | 'dark';

/** Light or dark; theme.js has set it before the first paint. */
class Theme {
  now = $state<Name>((document.documentElement.dataset.theme as Name) ?? 'light');

  /** Shows a theme without choosing it: the next visit does not remember it. */
  show(name: Name) {
    this.now = name;
    document.documentElement.dataset.theme = name;
  }

  toggle() {
    this.show(this.now === 'dark' ? 'light' : 'dark');
    try {
      localStorage.setItem('drydock.theme', this.now);
    } catch {
      // a browser without storage forgets it
    }
  }
}

export const theme = new Theme();
