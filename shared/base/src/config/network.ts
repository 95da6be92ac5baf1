/** Addresses of the testbed's network. Guests have 10.77.0.<domid> and the MAC addresses of the toolstack; what stands at
 *  the far end of the cable is their gateway. All of it is locally administered. docs/tcp.md */

/** Prefix of the network that guests and the far end share: everybody else is reached through the gateway. */
export const NETWORK_PREFIX = 16;

/** The generator and the sink of measured runs. Its address is outside of the network on purpose: nobody asks for it. */
export const GENERATOR_MAC = '02:00:00:ca:b1:e0';
export const GENERATOR_IP = '10.255.255.254';

/** The TCP/IP stack at the far end of the cable; the guests' gateway. */
export const OUTER_MAC = '02:00:00:ca:b1:e1';
export const OUTER_IP = '10.77.255.254';

/** Ports of what every guest serves: the web application, and what measures TCP. The classic discard port, 9, is the generator's. */
export const WEB_PORT = 80;
export const ECHO_PORT = 5007;
export const DISCARD_PORT = 5009;
export const CHARGEN_PORT = 5019;
