import t from 'tap';
import { XENBUS } from '@grantline/xen';
import { bed, type Bed } from './bed.js';

/** Values by series, without `domain="hypervisor"`. */
async function page(b: Bed): Promise<Map<string, number>> {
  const text = await (await fetch(`${b.url}/metrics`)).text();
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ');
      return [line.slice(0, at).replace(/domain="hypervisor",?/, ''), Number(line.slice(at + 1))];
    }),
  );
}

t.test('domains and vifs as metrics, and as targets for Prometheus: the dead are not scraped', async (t) => {
  const b = await bed(t);
  const dd = await b.open('driver-domain');
  const g = await b.open('guest');
  await b.create('guest');
  const [guestAt, driverAt] = [new URL(await g.announce()).host, new URL(await dd.announce('127.0.0.2')).host];
  await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/state', value: String(XENBUS.connected) });
  await dd.ask('xs.write', { path: '/local/domain/1000/backend/vif/1/0/error', value: 'an impossible index' });
  const series = await page(b);
  const expected: Record<string, number> = {
    'grantline_domain_up{domain="guest1"}': 1,
    'grantline_domain_up{domain="guest2"}': 0,
    'grantline_domain_up{domain="driver-domain"}': 1,
    'grantline_domain_starts_total{domain="guest1"}': 1,
    'grantline_domain_starts_total{domain="guest2"}': 0,
    'grantline_vif_state{domain="guest1",vif="vif1.0",component="backend"}': 4,
    'grantline_vif_state{domain="guest1",vif="vif1.0",component="frontend"}': 1,
    'grantline_vif_disabled{domain="guest1",vif="vif1.0"}': 1,
    'grantline_vif_disabled{domain="guest2",vif="vif2.0"}': 0,
    'grantline_active_grants{domain="guest1"}': 0,
    'grantline_mappings{domain="driver-domain"}': 0,
    'grantline_dma_entries{}': 0,
    'grantline_refused_grants_total{domain="guest2",reason="bad_gntref"}': 0,
    'grantline_control_refusals_total{reason="garbage"}': 0,
  };
  for (const [name, value] of Object.entries(expected)) t.equal(series.get(name), value, name);

  const targets = async (): Promise<unknown> => (await b.api('GET', '/prometheus/targets', undefined, '')).body;
  const own = { targets: [new URL(b.url).host], labels: { domain: 'hypervisor', kind: 'hypervisor' } };
  const driver = { targets: [driverAt], labels: { domain: 'driver-domain', kind: 'driver-domain' } };
  t.same(await targets(), [own, { targets: [guestAt], labels: { domain: 'guest1', kind: 'guest' } }, driver]);
  await b.api('DELETE', '/api/domains/1');
  t.same(await targets(), [own, driver]);
  t.notOk((await page(b)).has('grantline_domain_up{domain="guest1"}'));
});

t.test('the hypervisor knows of no experiment: it has no call and no metric of one', async (t) => {
  const b = await bed(t);
  const { paths } = (await b.api('GET', '/documentation/json')).body as unknown as { paths: Record<string, unknown> };
  t.ok(Object.hasOwn(paths, '/prometheus/targets') && Object.hasOwn(paths, '/api/session'));
  t.same(
    Object.keys(paths).filter((path) => /experiment|result|phase|observer/.test(path)),
    [],
  );
  for (const path of ['/api/experiment', '/api/experiment/results', '/api/experiment/requests'])
    for (const method of ['GET', 'PUT', 'POST']) t.equal((await b.api(method, path)).status, 404, `${method} ${path}`);
  const shown = await page(b);
  t.equal(shown.get('grantline_configuration_info{config="baseline"}'), 1, 'what is in force it does know');
  t.equal(shown.get('grantline_configuration_info{config="custom"}'), 0);
  t.same(
    [...shown.keys()].filter((s) => /^grantline_(experiment|paper|phase|result|run)_/.test(s)),
    [],
  );
});
