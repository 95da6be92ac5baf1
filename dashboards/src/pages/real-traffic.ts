/** Do real protocols and programs get through: HTTP, TCP/IP, requests, faults on the cable? */
import { assemble } from '../dashboard.js';
import {
  coloured,
  configColours,
  GREEN,
  marks,
  matrix,
  RED,
  UNIT,
  bars,
  lines,
  number,
  stacked,
  story,
} from '../panels.js';

const text = `**Do real programs get through, and how well?** The guests run a TCP/IP stack of their own and a web application on it;
\`grantline http\` loads it, \`compare --workload tcp\` sends streams, and any client may use the address that \`grantline up\` prints. On a
clean cable there are no retransmissions and no drops. With faults injected (\`--faults loss=0.01\`) there are: what must not change then is that every
request has its answer. *nic* stands for the stack at the far end of the cable. Bars show finished runs, lines what happens now.`;

/** Requests per second of the last finished runs; 0 by configuration while there are none. */
function requests(by: string, none: string): string {
  const selector = 'grantline_result_requests_per_second{run=~"$run",config=~"$config|loopback"}';
  const found = `max by (config, scenario) (${selector}) or max by (config, scenario) (last_over_time(${selector}[$__range]))`;
  return by === ''
    ? `(${found}) or on () (${none})`
    : `((${found}) / on (scenario) group_left () ${by}) or on () (${none})`;
}

const NONE =
  '0 * label_replace(max by (config) (grantline_configuration_info{config=~"$config"}), "scenario", "none measured", "", "")';
const ON_LOOPBACK = `(max by (scenario) (last_over_time(grantline_result_requests_per_second{run=~"$run",config="loopback"}[$__range])) > 0)`;

const event = (ops: string): string =>
  `sum by (domain, op) (rate(grantline_tcpip_events_total{domain=~"$domain",op=~"${ops}"}[$__rate_interval]))`;

export const realTraffic = assemble({
  uid: 'grantline-real-traffic',
  title: 'Grantline: real traffic',
  description: 'HTTP and TCP/IP through the path: requests, retransmissions, resets, drops, injected faults.',
  story: story('Do real programs get through?', text, 6),
  sections: [
    {
      title: 'HTTP',
      panels: [
        configColours(
          bars(
            { title: 'Requests per second, by configuration', unit: UNIT.requests, width: 12, height: 10 },
            'Closed loop, of the last finished runs of grantline http; loopback is the same application without any of the path, in the same run. All 0: none was run.',
            'scenario\\config',
            matrix('scenario', 'config', 'ascending'),
            requests('', NONE),
          ),
        ),
        configColours(
          bars(
            { title: 'Share of loopback, by configuration', unit: UNIT.share, width: 12, height: 10 },
            'The same over those on loopback in the same run: what the path leaves. Small JSON at a third or more is what is asked for. All 0: none was run.',
            'scenario\\config',
            matrix('scenario', 'config', 'ascending'),
            requests(ON_LOOPBACK, NONE),
          ),
        ),
        stacked(
          { title: 'Requests answered, by guest', unit: UNIT.requests, width: 12 },
          'Answers of the web applications in the guests, whoever asks. Even layers: connections are spread evenly. A WebSocket is not counted.',
          [
            'sum by (domain) (rate(grantline_http_requests_total{domain=~"$domain"}[$__rate_interval])) or on () vector(0)',
            '{{domain}}',
          ],
        ),
        lines(
          { title: 'Requests answered, by outcome', unit: UNIT.requests, width: 12 },
          'ok: 2xx and 3xx. client_error: what was asked for is wrong (4xx), as malformed HTTP is. server_error: must stay at zero.',
          ['sum by (op) (rate(grantline_http_requests_total[$__rate_interval]))', '{{op}}'],
        )
          .overrideByName('ok', coloured(GREEN))
          .overrideByName('server_error', coloured(RED)),
      ],
    },
    {
      title: 'TCP/IP stacks',
      panels: [
        lines(
          { title: 'Traffic of the stacks', unit: UNIT.bits, width: 12 },
          'Bits a second that each TCP/IP stack took and gave, headers included; nic is the stack at the far end of the cable. rx and tx as each stack sees it.',
          [
            '8 * sum by (domain, direction) (rate(grantline_tcpip_bytes_total{domain=~"$domain"}[$__rate_interval]))',
            '{{domain}} {{direction}}',
          ],
        ),
        lines(
          { title: 'Connections', unit: UNIT.perSecond, width: 12 },
          'Opened and closed connections a second of each stack, and those that were given up. Opened and closed lie on each other but for those that are open.',
          [event('tcp_opened|tcp_closed|tcp_timed_out|tcp_unreachable'), '{{domain}}: {{op}}'],
        ),
        number(
          { title: 'Retransmitted segments', unit: UNIT.count, width: 4 },
          'Segments sent again in the time range, by all stacks. Zero on a clean cable.',
          marks('text'),
          [
            'sum(round(increase(grantline_tcpip_events_total{op="tcp_retransmits"}[$__range]))) or vector(0)',
            'segments',
          ],
        ),
        number(
          { title: 'Resets', unit: UNIT.count, width: 4 },
          'Resets that the stacks sent, in the time range: ports that nobody serves, ends that died.',
          marks('text'),
          ['sum(round(increase(grantline_tcpip_events_total{op="tcp_resets_out"}[$__range]))) or vector(0)', 'resets'],
        ),
        number(
          { title: 'Packets dropped by stacks', unit: UNIT.count, width: 4 },
          'Packets that a TCP/IP stack had no use for, in the time range; below it says why.',
          marks('text'),
          ['sum(round(increase(grantline_dropped_frames_total{component="tcpip"}[$__range]))) or vector(0)', 'packets'],
        ),
        lines(
          { title: 'Retransmission', unit: UNIT.perSecond, width: 12 },
          'Segments sent again, retransmission timers that ran out, and fast recoveries a second. Time-outs cost most: each is a pause. All zero on a clean cable.',
          [event('tcp_retransmits|tcp_timeouts|tcp_fast_recoveries'), '{{domain}}: {{op}}'],
        ),
        lines(
          { title: 'Resets and limits', unit: UNIT.perSecond, width: 12 },
          'Resets in and out, SYNs answered by cookies (a flood), cookies that came back right and wrong, and acknowledgements that challenge what looks forged.',
          [
            event(
              'tcp_resets_in|tcp_resets_out|tcp_cookies_sent|tcp_cookies_accepted|tcp_cookies_refused|tcp_challenge_acks',
            ),
            '{{domain}}: {{op}}',
          ],
        ),
        lines(
          { title: 'Dropped by stacks, by reason', unit: UNIT.frames, width: 12 },
          'bad_checksum and bad_header: damaged or forged. no_connection: nobody listens. duplicate: sent again without need. Frames for other addresses and of other protocols are none.',
          [
            'sum by (reason) (rate(grantline_dropped_frames_total{component="tcpip",domain=~"$domain"}[$__rate_interval]))',
            '{{reason}}',
          ],
        ),
      ],
    },
    {
      title: 'Requests and the cable',
      panels: [
        lines(
          { title: 'Requests and answers', unit: UNIT.requests, width: 12 },
          'Small frames that ask and are answered (compare --workload rr). sent and answered lie on each other; timed_out are lost ones, late came after that.',
          ['sum by (op) (rate(grantline_requests_total[$__rate_interval]))', '{{op}}'],
        ),
        lines(
          { title: 'Faults injected', unit: UNIT.frames, width: 12 },
          'What the injector on the cable did to frames on purpose, by direction and kind. All zero: it is off.',
          ['sum by (direction, op) (rate(grantline_injected_faults_total[$__rate_interval]))', '{{direction}}: {{op}}'],
        ),
      ],
    },
  ],
});
