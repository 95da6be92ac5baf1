/** What do the shared structures do: rings, buffers, grants, doorbells? */
import { assemble } from '../dashboard.js';
import { coloured, GREEN, marks, RED, UNIT, lines, stacked, story, withMarks } from '../panels.js';

const text = `**What do rings, grants and doorbells do?** A guest posts buffers on its rx ring; netback (or the NIC, through netback)
fills them; a doorbell is rung only when the other side sleeps. *Occupied* is what has no response yet. Healthy under load: buffers are
always posted, most notifications are suppressed, and with grant reuse the pool is full and the grant operations are zero.
Refused accesses are attempts on memory that was not granted: always zero, unless somebody attacks.`;

export const ringsAndGrants = assemble({
  uid: 'grantline-rings-and-grants',
  title: 'Grantline: rings and grants',
  description: 'Occupancy of rings, posted buffers, notifications, the grant pool, refused accesses.',
  story: story('What do rings, grants and doorbells do?', text, 4),
  sections: [
    {
      title: 'Rings and buffers',
      panels: [
        lines(
          { title: 'Rings: share of slots occupied', unit: UNIT.share, width: 12 },
          'Requests in a shared ring that have no response yet, of its slots. rx near 100 %: the guest keeps its ring full of buffers, as it should. rx near 0 under load: the guest is behind, and frames wait or drop. tx: packets of the guest that nobody has answered yet; near 100 % the path is behind it.',
          [
            'sum by (vif, queue, direction) (grantline_ring_slots_used) / (sum by (vif, queue, direction) (grantline_ring_slots) > 0)',
            '{{vif}} {{queue}} {{direction}}',
          ],
        ).max(1),
        lines(
          { title: 'Buffers posted to NIC queues', unit: UNIT.count, width: 12 },
          'Buffers that wait in each NIC queue. A queue at 0 under load has nowhere to put frames: it drops them, or holds the sender.',
          ['sum by (queue) (grantline_posted_buffers)', '{{queue}}'],
        ),
        lines(
          { title: 'Frames into NIC queues', unit: UNIT.frames, width: 12 },
          'Which queue carries the traffic: default is the one of the driver domain (baseline); a vif name is a queue of its own, that the NIC fills without the bridge.',
          ['sum by (queue) (rate(grantline_nic_queue_frames_total[$__rate_interval]))', '{{queue}}'],
        ),
        lines(
          { title: 'Frames that reached netback, by the way they came', unit: UNIT.frames, width: 12 },
          'nic: straight into pages of the guest. bridge: through the driver domain, to be copied.',
          ['sum by (queue) (rate(grantline_netback_received_frames_total[$__rate_interval]))', 'by way of {{queue}}'],
        ),
      ],
    },
    {
      title: 'Doorbells',
      panels: [
        lines(
          { title: 'Share of notifications suppressed', unit: UNIT.share, width: 12 },
          'Of the times that a component might have rung, how often the other side was awake and it did not have to. High under load is good: a ring costs a system call and wakes somebody. No line: it had no reason to ring.',
          ['component:grantline_notifications_suppressed:ratio_rate4s', '{{component}}'],
        ).max(1),
        lines(
          { title: 'Notifications sent', unit: UNIT.perSecond, width: 12 },
          'Doorbells rung, by component. Many per second at low load, few at high load.',
          [
            'sum by (component) (rate(grantline_notifications_total{domain=~"$domain"}[$__rate_interval]))',
            '{{component}}',
          ],
        ),
        lines(
          { title: 'Wake-ups', unit: UNIT.perSecond, width: 12 },
          'Times that a sleeping domain was woken. Zero under full load: nobody falls asleep.',
          ['sum by (domain) (rate(grantline_wakeups_total{domain=~"$domain"}[$__rate_interval]))', '{{domain}}'],
        ),
        lines(
          { title: 'Turns of the data loop', unit: UNIT.perSecond, width: 12 },
          'How often each domain looked for work. Few turns with many frames are large batches.',
          ['sum by (domain) (rate(grantline_polls_total{domain=~"$domain"}[$__rate_interval]))', '{{domain}}'],
        ),
      ],
    },
    {
      title: 'Grants',
      panels: [
        lines(
          { title: 'Standing grants of the reuse pool', unit: UNIT.count, width: 12 },
          'Grants that stay active from connect to disconnect, by who counts them. Flat in grant-reuse and optimised, zero in baseline and multiqueue, which grant anew for each frame.',
          ['sum by (domain, vif) (grantline_pool_grants{domain=~"$domain"})', '{{domain}} {{vif}}'],
        ),
        lines(
          { title: 'Grants in use, mappings, DMA entries', unit: UNIT.count, width: 12 },
          'Entries of grant tables that others use now, handles that domains hold, entries of the DMA table. All go back after a change of configuration; one that only grows is a leak.',
          ['sum by (domain) (grantline_active_grants{domain=~"$domain"})', '{{domain}}: granted and in use'],
          ['sum by (domain) (grantline_mappings{domain=~"$domain"})', '{{domain}}: handles held'],
          ['sum(grantline_dma_entries)', 'DMA table'],
        ),
        stacked(
          { title: 'Grant operations', unit: UNIT.perSecond, width: 12 },
          'What the hypervisor was asked to do with grants. Received: baseline copies each frame, multiqueue maps and unmaps its buffer for the NIC. Sent: both copy the header and map and unmap the rest. pin, unpin: a domain its own pages. Near zero in steady state with grant reuse.',
          ['sum by (op) (rate(grantline_grant_operations_total{domain=~"$domain"}[$__rate_interval]))', '{{op}}'],
        ),
        lines(
          { title: 'Grants issued and revoked by guests', unit: UNIT.perSecond, width: 12 },
          'What netfront wrote to grant tables. quarantined: pages that the other side did not let go of; they are never used again, and there should be none.',
          ['sum by (op) (rate(grantline_netfront_grants_total{domain=~"$domain"}[$__rate_interval]))', '{{op}}'],
        ).overrideByName('quarantined', coloured(RED)),
        withMarks(
          lines(
            { title: 'Refused accesses', unit: UNIT.perSecond, width: 24, height: 6 },
            'Elements of hypercalls and transfers of the NIC that were refused. Zero is right; anything else is an attack, a fault, or a test of both.',
            [
              'sum by (reason) (rate(grantline_refused_grants_total{domain=~"$domain"}[$__rate_interval]))',
              'grants: {{reason}}',
            ],
            ['sum by (queue) (rate(grantline_refused_dma_total[$__rate_interval]))', 'DMA: {{queue}}'],
            ['sum by (queue) (rate(grantline_bad_descriptors_total[$__rate_interval]))', 'descriptors: {{queue}}'],
          ),
          marks(GREEN, [0.001, RED]),
        ),
      ],
    },
  ],
});
