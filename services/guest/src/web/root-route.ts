/** GET /: the small answer. */
import { RootBody } from '@grantline/measure';
import type { WebInstance } from './instance.js';

export function addRoot(app: WebInstance, name: string): void {
  app.get('/', { schema: { response: { 200: RootBody } } }, (request): RootBody => ({
    service: 'grantline',
    name,
    id: request.id === '' ? null : request.id,
  }));
}
