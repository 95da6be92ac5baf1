export { quiet } from './fake-hypervisor.js';
