import { mount } from 'svelte';
import App from './App.svelte';
import './app.css';

mount(App, { target: document.getElementById('app')! });

// Fonts come after the first paint: the page reads in the system's until then.
requestAnimationFrame(() => setTimeout(() => void import('./fonts'), 0));
