/** The page's address, as state. Links inside the page are followed without loading it anew. */
class Router {
  path = $state(location.pathname);

  constructor() {
    addEventListener('popstate', () => (this.path = location.pathname));
    addEventListener('click', (e) => {
      const link = (e.target as Element | null)?.closest?.('a');
      if (!link || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
      if (link.origin !== location.origin || link.target || link.hasAttribute('download') || link.getAttribute('href')?.startsWith('#') || link.pathname.startsWith('/api/')) return;
      e.preventDefault();
      this.go(link.pathname);
    });
  }

  go(path: string) {
    if (path !== location.pathname) history.pushState(null, '', path);
    this.path = path;
    scrollTo(0, 0);
  }
}

export const router = new Router();
