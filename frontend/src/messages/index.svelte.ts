import en from './en.json';
import ko from './ko.json';

export type Lang = 'ko' | 'en';
export type Key = keyof typeof ko;
export type Params = Record<string, string | number | boolean>;

const catalogues: Record<Lang, Record<string, string>> = { ko, en };

/** The language that the page speaks; theme.js has chosen it before the first paint. */
class Language {
  now = $state<Lang>(typeof document !== 'undefined' && document.documentElement.lang === 'en' ? 'en' : 'ko');

  set(lang: Lang) {
    this.now = lang;
    document.documentElement.lang = lang;
    try {
      localStorage.setItem('drydock.lang', lang);
    } catch {
      // a browser without storage forgets it
    }
  }
}

export const language = new Language();

/** Puts parameters into a sentence; those that are not given stay as they are. */
export function fill(sentence: string, params: Params = {}): string {
  return sentence.replace(/\{([a-zA-Z]+)\}/g, (all, name) => (name in params ? String(params[name]) : all));
}

/** The sentence of a key in the page's language. */
export function t(key: Key, params?: Params): string {
  return fill(catalogues[language.now][key] ?? key, params);
}

/** The sentence of a key that arrived from the server; otherwise the one of `or`. */
export function tr(key: string, params: Params | undefined, or: Key): string {
  const found = catalogues[language.now][key];
  return found === undefined ? t(or, params) : fill(found, params);
}

/** A number as people of the language write it. */
export function count(n: number): string {
  return new Intl.NumberFormat(language.now).format(n);
}
