import t from 'tap';
import { parseEdge, unheard } from '../../src/base/option-values.js';

t.test('where the edge listens is said by an option, or for all commands by the environment', (t) => {
  t.equal(parseEdge(undefined, {}), null);
  t.same(parseEdge(undefined, { GRANTLINE_EDGE: '0.0.0.0:8080' }), { host: '0.0.0.0', port: 8080 });
  t.same(parseEdge('[::1]:80', { GRANTLINE_EDGE: '0.0.0.0:8080' }), { host: '::1', port: 80 });
  t.same(parseEdge('8080', {}), { host: '127.0.0.1', port: 8080 });
  t.throws(() => parseEdge('x', {}), { name: 'UserError', message: /HOST:PORT/ });
  t.end();
});

t.test('a setting of a service that does nothing for a command is said', (t) => {
  t.same(unheard({ GRANTLINE_EDGE: 'x', GRANTLINE_DIR: 'x', PATH: 'x', GRANTLINE_CORE: '' }), []);
  t.match(unheard({ GRANTLINE_FAR_END: 'none' }), [/^GRANTLINE_FAR_END has no effect here.* started by itself$/]);
  t.match(unheard({ GRANTLINE_METRICS: '127.0.0.1:7680' }), [/^GRANTLINE_METRICS has no effect here.* --hypervisor$/]);
  t.end();
});
