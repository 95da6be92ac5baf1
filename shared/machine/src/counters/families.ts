/** Every metric that tells of the testbed: its help text, its type, and the labels that its series may have. A counter says in its
 *  declaration to which it adds. Names and meaning: docs/wire/metrics.md, which a test holds against this. */

/** All labels that there are, beside `le` of a histogram. Each has few values, known in advance but for `run` and `scenario`. */
export const LABEL_NAMES = [
  'domain',
  'vif',
  'queue',
  'config',
  'component',
  'reason',
  'direction',
  'op',
  'run',
  'scenario',
  'phase',
  'quantile',
  'version',
  'revision',
  'node',
] as const;
export type LabelName = (typeof LABEL_NAMES)[number];
export type Labels = Readonly<Partial<Record<LabelName, string>>>;

export interface Family {
  readonly type: 'counter' | 'gauge' | 'histogram' | 'summary';
  readonly help: string;
  /** Beside `domain`, which all have. A series may lack one that it has no use for. */
  readonly labels: readonly LabelName[];
}

const of =
  (type: Family['type']) =>
  (help: string, ...labels: LabelName[]): Family => ({ type, help, labels });

export const counter = of('counter');
export const gauge = of('gauge');
export const histogram = of('histogram');
/** Only for given quantiles: promtool allows that label nowhere else. */
export const summary = of('summary');

/** The path of a frame, from the cable to the application. */
const PATH_FAMILIES = {
  grantline_cable_frames_total: counter('Frames sent at the far end of the cable.', 'direction'),
  grantline_cable_bytes_total: counter('Bytes sent at the far end of the cable, without FCS.', 'direction'),
  grantline_cable_paused_seconds_total: counter('Time that flow control held the sender.'),
  grantline_injected_faults_total: counter('Faults that the injector on the cable made, by kind.', 'direction', 'op'),
  grantline_requests_total: counter('Requests from the far end of the cable, by what became of them.', 'op'),
  grantline_responses_total: counter('Requests that an application took, by what became of them.', 'op'),
  grantline_link_bytes_per_second: gauge('Speed of the link; 0: unlimited.'),
  grantline_nic_frames_total: counter('Frames that the NIC took from the cable.', 'direction'),
  grantline_nic_bytes_total: counter('Bytes that the NIC took from the cable.', 'direction'),
  grantline_nic_queue_frames_total: counter('Frames put into buffers of a NIC queue.', 'queue', 'direction'),
  grantline_nic_queue_bytes_total: counter('Bytes put into buffers of a NIC queue.', 'queue', 'direction'),
  grantline_nic_queue_buffers_total: counter('Buffers of a NIC queue that were used.', 'queue'),
  grantline_posted_buffers: gauge('Buffers that wait in a NIC queue now.', 'queue'),
  grantline_refused_dma_total: counter('Transfers that the DMA table does not allow.', 'queue'),
  grantline_bad_descriptors_total: counter('Descriptors of a NIC queue that cannot be.', 'queue'),
  grantline_driver_frames_total: counter('Frames taken from a NIC queue by its driver.', 'direction'),
  grantline_driver_bytes_total: counter('Bytes taken from a NIC queue by its driver.', 'direction'),
  grantline_driver_errors_total: counter('Completions that a driver of a NIC queue found in error.'),
  grantline_bridge_frames_total: counter('Frames in the bridge; copied: copies made by flooding.', 'op'),
  grantline_bridge_addresses_total: counter('Addresses that the bridge learned, or forgot by age.', 'op'),
  grantline_netback_received_frames_total: counter('Frames that reached netback for a vif.', 'vif', 'queue'),
  grantline_netback_frames_total: counter('Frames that netback passed on to the guest.', 'vif', 'direction'),
  grantline_netback_bytes_total: counter('Bytes that netback passed on to the guest.', 'vif', 'direction'),
  grantline_netback_requests_total: counter("Buffers that netback took off the guest's ring.", 'vif'),
  grantline_netback_grant_operations_total: counter('Grant operations that netback asked for.', 'vif', 'op'),
  grantline_netback_hypercalls_total: counter('Batches of grant operations that netback sent.', 'vif'),
  grantline_ring_faults_total: counter('Impossible requests and impossible indices of guests.', 'vif', 'reason'),
  grantline_contained_faults_total: counter(
    'Exceptions in the work of one vif or queue, which stopped that one alone.',
    'component',
    'vif',
    'queue',
  ),
  grantline_reattached_queues_total: counter('NIC queues that gave up and were attached anew by their driver.'),
  grantline_kept_grants_total: counter('Grants that the hypervisor did not let netback give back.', 'vif'),
  grantline_netfront_frames_total: counter('Frames that netfront took off its rings.', 'vif', 'direction'),
  grantline_netfront_bytes_total: counter('Bytes that netfront took off its rings.', 'vif', 'direction'),
  grantline_netfront_requests_total: counter('Buffers that netfront put on its rings.', 'vif'),
  grantline_netfront_responses_total: counter('Buffers that netfront got back.', 'vif'),
  grantline_netfront_grants_total: counter('Grants of the guest, by what became of them.', 'vif', 'op'),
  grantline_stack_frames_total: counter('Frames that entered the network stack.'),
  grantline_stack_segments_total: counter('Segments handed to a socket, after coalescing.'),
  grantline_stack_coalesced_frames_total: counter('Frames merged into another by large receive offload.'),
  grantline_tcpip_packets_total: counter('Packets of the TCP/IP stack, Ethernet frames or longer.', 'vif', 'direction'),
  grantline_tcpip_bytes_total: counter('Bytes of those packets.', 'vif', 'direction'),
  grantline_tcp_segments_total: counter('TCP segments, as the link carries them.', 'vif', 'direction'),
  grantline_tcp_payload_bytes_total: counter('Payload of those segments, repeated ones included.', 'vif', 'direction'),
  grantline_tcp_app_bytes_total: counter(
    'Bytes that applications which measure TCP took, or gave.',
    'vif',
    'direction',
  ),
  grantline_http_requests_total: counter('Answers of the web application, by how they ended.', 'vif', 'op'),
  grantline_edge_connections_total: counter('Connections of the edge: taken, refused and why, ended and why.', 'op'),
  grantline_tcpip_events_total: counter(
    'What happened in the TCP/IP stack: connections, time-outs, resets.',
    'vif',
    'op',
  ),
  grantline_tap_packets_total: counter(
    'Packets read from (rx) or written to (tx) the kernel behind a TAP device.',
    'vif',
    'direction',
  ),
  grantline_tap_frames_total: counter('Frames that those packets stand for on the wire.', 'vif', 'direction'),
  grantline_tap_bytes_total: counter('Bytes of those packets.', 'vif', 'direction'),
  grantline_delivered_frames_total: counter("Frames whose payload lies in the application's private memory."),
  grantline_delivered_bytes_total: counter('Bytes of the delivered frames.'),
  grantline_delivered_payload_bytes_total: counter('Payload bytes of the delivered frames.'),
  grantline_faulty_frames_total: counter('What the receiver found wrong with frames.', 'reason'),
  grantline_frame_latency_seconds: histogram('From sending a frame to its delivery.'),
  grantline_dropped_frames_total: counter('Frames dropped, by where and why.', 'component', 'reason', 'vif', 'queue'),
} as const satisfies Record<string, Family>;

/** What carrying frames costs, and how full things are. */
const COST_FAMILIES = {
  grantline_notifications_total: counter('Notifications sent to a peer.', 'component', 'vif', 'queue'),
  grantline_notifications_suppressed_total: counter(
    'Notifications left out, because the peer did not ask or moderation held them.',
    'component',
    'vif',
    'queue',
  ),
  grantline_wakeups_total: counter('Times that a sleeping domain was woken.'),
  grantline_damped_ports_total: counter('Times that a port was masked because its peer rang without reason.'),
  grantline_polls_total: counter('Rounds of the data loop.'),
  grantline_ring_slots: gauge('Size of a shared ring; 0 while the vif is not connected.', 'vif', 'queue', 'direction'),
  grantline_ring_slots_used: gauge('Requests in a shared ring without a response.', 'vif', 'queue', 'direction'),
  grantline_pool_grants: gauge('Standing grants of the reuse pool.', 'vif'),
  grantline_copies_total: counter('Copies of frames, by who copied.', 'component'),
  grantline_copied_bytes_total: counter('Bytes copied, by who copied.', 'component'),
  grantline_cpu_seconds_total: counter('CPU time of the data thread by component.', 'component'),
  grantline_capture_frames_total: counter('Frames put into the ring of a capture, by hop.', 'component'),
  grantline_capture_bytes_total: counter('Bytes of frames put into the ring of a capture, by hop.', 'component'),
  grantline_capture_overflow_frames_total: counter('Frames that found the ring of a capture full.', 'component'),
} as const satisfies Record<string, Family>;

const HYPERVISOR_FAMILIES = {
  grantline_hypercalls_total: counter('Hypercalls of a domain: slots of its ring, and messages.'),
  grantline_hypercall_seconds_total: counter('CPU time of the hypervisor for a domain.', 'component'),
  grantline_grant_operations_total: counter('Elements of hypercalls judged for a domain.', 'op'),
  grantline_refused_grants_total: counter('Elements of hypercalls refused to a domain, by status.', 'reason'),
  grantline_active_grants: gauge("Entries of a domain's grant table that others use now."),
  grantline_mappings: gauge('Handles that a domain holds.'),
  grantline_dma_entries: gauge('Entries of the DMA table.'),
  grantline_domain_up: gauge('1: the domain runs; 0: it is created or dead.'),
  grantline_domain_starts_total: counter('Connections of a domain: over 1, it has come back.'),
  grantline_vif_state: gauge('XenbusState of an end of a vif, 1 Initialising to 6 Closed.', 'vif', 'component'),
  grantline_configuration_info: gauge('1 for the configuration in force.', 'config'),
  grantline_vif_disabled: gauge('1: netback or netfront refused the other side.', 'vif'),
  grantline_control_requests_total: counter('Control operations that domains asked for.'),
  grantline_control_events_total: counter('Events sent to domains.'),
  grantline_control_refusals_total: counter('What the control sockets turned away.', 'reason'),
} as const satisfies Record<string, Family>;

/** In the order of the page. */
export const TESTBED_FAMILIES = { ...PATH_FAMILIES, ...COST_FAMILIES, ...HYPERVISOR_FAMILIES } as const;
/** What a counter can add to. */
export type CounterFamily = Extract<keyof typeof TESTBED_FAMILIES, `${string}_total`>;
