import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';

mount(App, { target: document.getElementById('app')! });

// Fonts come after the first paint: the page reads in the system's until then.
requestAnimationFrame(() => setTimeout(() => void import('./fonts'), 0));

// Once the home page has come to rest, the lesson page is fetched ahead: the prompt is to be there within a second of the click.
if (location.pathname === '/') addEventListener('load', () => setTimeout(() => void import('./pages/Lesson.svelte'), 600), { once: true });
