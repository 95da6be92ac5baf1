/** What Prometheus, on the shipped configuration, takes from a service whose code was replaced: series of its own, within limits. */
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import t from 'tap';
import { Lab, missing } from './prometheus-kit.js';

t.setTimeout(300_000);

t.test(
  'a service is believed in what it says of itself, within limits, and in nothing else',
  { skip: missing() },
  async (t) => {
    const lab = new Lab('prometheus-trust');
    t.teardown(() => lab.end());
    const asked: string[] = [];
    const serve = async (name: string, answer: RequestListener): Promise<string> => {
      const http = createServer((req, res) => {
        asked.push(`${name} ${req.url}`);
        answer(req, res);
      }).listen(0, '127.0.0.1');
      await new Promise((done) => http.once('listening', done));
      t.teardown(() => {
        http.close();
        http.closeAllConnections();
      });
      return `127.0.0.1:${(http.address() as AddressInfo).port}`;
    };
    const page =
      (text: string): RequestListener =>
      (_, res) =>
        res.writeHead(200, { 'content-type': 'text/plain' }).end(text);

    const own = 'grantline_delivered_frames_total{domain="guest1"} 7\n';
    const liar = await serve(
      'liar',
      page(
        own +
          'grantline_delivered_frames_total{domain="guest2",instance="guest2",job="x",kind="nic",queue="a"} 8\n' +
          'grantline_delivered_frames_total{exported_domain="guest2",queue="b"} 9\n' +
          'grantline_delivered_frames_total{domain="guest1",queue="c"} 10 1000\n' +
          'up{domain="guest2"} 0\nALERTS{alertstate="firing"} 1\ngrantline_result_bytes_per_second{config="optimised"} 1\n' +
          'grantline:delivered:rate5s 1\n',
      ),
    );
    const elsewhere = await serve('elsewhere', page(own));
    const redirected = await serve('redirected', (_, res) =>
      res.writeHead(302, { location: `http://${elsewhere}/secret` }).end(),
    );
    const many = Array.from({ length: 10_001 }, (_, i) => `grantline_delivered_frames_total{queue="${i}"} 1`).join(
      '\n',
    );
    const flood = await serve('flood', page(`${many}\n`));
    const long = await serve('long', page(`grantline_delivered_frames_total{queue="${'x'.repeat(301)}"} 1\n`));
    const labels = Array.from({ length: 30 }, (_, i) => `l${i}="1"`).join();
    const wide = await serve('wide', page(`grantline_delivered_frames_total{${labels}} 1\n`));
    const big = await serve('big', page(`${own}# ${'x'.repeat(5 << 20)}\n`));
    let targets = '';
    const hypervisor = await serve('hypervisor', (req, res) => {
      const text =
        'grantline_hypervisor_cpu_seconds_total{domain="guest1"} 1\ngrantline_result_bytes_per_second{domain="hypervisor"} 5\n';
      if (req.url === '/metrics') page(text)(req, res);
      else res.writeHead(200, { 'content-type': 'application/json' }).end(targets);
    });
    const guests = [liar, redirected, flood, long, wide, big];
    targets = JSON.stringify([
      { targets: [hypervisor], labels: { domain: 'hypervisor', kind: 'hypervisor' } },
      ...guests.map((at, i) => ({ targets: [at], labels: { domain: `guest${i + 1}`, kind: 'guest' } })),
    ]);
    // The experimenter's port may be somebody else's where no live page is served.
    const experimenter = await serve(
      'experimenter',
      page(
        `${own}up{domain="nic"} 0\ngrantline_configuration_info{config="direct"} 1\ngrantline_result_lost_frames{domain="nic"} 3\n`,
      ),
    );
    await lab.startPrometheus(hypervisor, experimenter);
    interface Target {
      labels: Record<string, string>;
      health: string;
      lastError: string;
    }
    const all = async (): Promise<Target[]> => (await lab.ask<{ activeTargets: Target[] }>('targets')).activeTargets;
    await lab.eventually('all have been asked', async () => {
      const now = await all();
      return now.length === 8 && now.every((x) => x.health !== 'unknown');
    });
    const health = Object.fromEntries(
      (await all()).map((x) => [x.labels['domain'], x.health === 'up' ? 'up' : x.lastError]),
    );
    t.match(health, {
      hypervisor: 'up',
      experimenter: 'up',
      guest1: 'up',
      guest2: /302/,
      guest3: /sample limit/,
      guest4: /label value length limit|label_value_length_limit|label value too long/i,
      guest5: /label.?limit/i,
      guest6: /body size limit/,
    });
    t.notOk(
      asked.some((a) => a.startsWith('elsewhere')),
      'a redirect is not followed',
    );
    await lab.eventually('it has two scrapes', () =>
      Promise.resolve(asked.filter((a) => a.startsWith('liar')).length > 2),
    );
    const now = Date.now() / 1000;
    const series = await lab.atMoment('{__name__=~".+",job!="prometheus"}', now);
    const delivered = series
      .filter((s) => s.metric['__name__'] === 'grantline_delivered_frames_total')
      .map((s) => s.metric);
    t.same(
      delivered.map((m) => ({ ...m, queue: m['queue'] ?? '' })).sort((a, b) => (a.queue < b.queue ? -1 : 1)),
      ['', 'a', 'b', 'c'].map((queue) => ({
        ...{
          __name__: 'grantline_delivered_frames_total',
          domain: 'guest1',
          instance: 'guest1',
          job: 'grantline',
          kind: 'guest',
        },
        queue,
      })),
      'whatever it says, they are its own',
    );
    t.same(
      series
        .filter(
          (s) =>
            /^(up|ALERTS|grantline_result.*|grantline:.*)$/.test(s.metric['__name__'] ?? '') &&
            s.metric['domain'] === 'guest1',
        )
        .map((s) => [s.metric['__name__'], s.value?.[1]]),
      [['up', '1']],
      'nor does it speak for Prometheus, the rules or the experiment',
    );
    t.same(
      series
        .filter((s) => s.metric['domain'] === 'experimenter' && !/^(scrape|ALERTS)_/.test(s.metric['__name__'] ?? ''))
        .map((s) => [s.metric['__name__'], s.metric['job'], s.value?.[1]])
        .sort(),
      [
        ['grantline_result_lost_frames', 'experimenter', '3'],
        ['up', 'experimenter', '1'],
      ],
      'an experimenter speaks of experiments, and of nothing else',
    );
    const byHypervisor = series.filter((s) => s.metric['__name__'] === 'grantline_hypervisor_cpu_seconds_total');
    t.equal(byHypervisor[0]?.metric['domain'], 'guest1', "what the hypervisor counts for a caller is the caller's");
  },
);
