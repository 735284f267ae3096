type Name = 'light' | 'dark';

/** Light or dark; theme.js has set it before the first paint. */
class Theme {
  now = $state<Name>((document.documentElement.dataset.theme as Name) ?? 'light');

  toggle() {
    this.now = this.now === 'dark' ? 'light' : 'dark';
    document.documentElement.dataset.theme = this.now;
    try {
      localStorage.setItem('drydock.theme', this.now);
    } catch {
      // a browser without storage forgets it
    }
  }
}

export const theme = new Theme();
