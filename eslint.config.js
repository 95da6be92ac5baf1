// Lint rules. What makes this project's rules particular: the data path is guarded by banned syntax, not by review.
import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** Syntax that allocates or calls out once per frame: not where frames are carried. */
const perFrameBans = [
  { selector: 'ForOfStatement', message: 'for-of allocates an iterator: index instead' },
  { selector: 'SpreadElement', message: 'spread allocates' },
  {
    selector: 'TemplateLiteral[expressions.length>0]:not(ThrowStatement TemplateLiteral)',
    message: 'a template string allocates',
  },
  { selector: 'AwaitExpression', message: 'the data path is synchronous' },
  { selector: 'BigIntLiteral', message: 'BigInt allocates' },
  { selector: 'TryStatement', message: 'a peer fault is a status, not an exception' },
];

export default tseslint.config(
  { ignores: ['**/dist/', '**/node_modules/', '.cache/', '.tap/', 'results/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      eqeqeq: 'error',
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'use a const object: enums are not erasable' },
      ],
    },
  },
  {
    // Time and chance are arguments (CONTRIBUTING.md, rule 9): only the clock folder reads them.
    files: ['shared/*/src/**/*.ts', 'services/*/src/**/data/**/*.ts'],
    ignores: [
      'shared/base/src/{clock,http}/**',
      'shared/observe/src/counters/service-metrics.ts',
      'shared/service/src/**',
    ],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'use Rng of clock/clock.ts: runs are repeatable' },
        { object: 'Date', property: 'now', message: 'use a Clock' },
        { object: 'performance', property: 'now', message: 'use a Clock' },
      ],
    },
  },
  {
    files: [
      'shared/xen/src/{ring,nicq}/**/*.ts',
      'shared/xen/src/grant/grant-table.ts',
      'shared/xen/src/evtchn/event-side.ts',
      'shared/{frames/src,measure/src/receive,tcpip/src/{tcp,ip,storage}}/**/*.ts',
      'services/{hypervisor,driver-domain,guest}/src/data/**/*.ts',
      'services/nic/src/*/data/**/*.ts',
    ],
    // These also set things up, describe them or hold a fault back, once for a batch at most.
    ignores: [
      'services/driver-domain/src/data/bridge/bridge.ts',
      'services/driver-domain/src/data/grants/grant-pool.ts',
      'services/driver-domain/src/data/grants/packet-grants.ts',
      'services/driver-domain/src/data/rx/netback-nic-rx.ts',
      'services/driver-domain/src/data/vif-part.ts',
      'services/driver-domain/src/data/tx/tx-port.ts',
      'services/driver-domain/src/data/tx/tx-requests.ts',
      'services/guest/src/data/pool-client.ts',
      'services/nic/src/far-end/data/cable.ts',
      'services/nic/src/far-end/data/faults.ts',
      'services/nic/src/hardware/data/nic-tx.ts',
      'services/nic/src/hardware/data/nic.ts',
      'services/nic/src/hardware/data/nic-queue.ts',
      'services/nic/src/hardware/data/rx-queue.ts',
      'shared/frames/src/flow-templates.ts',
      'shared/measure/src/receive/receiver.ts',
      'shared/measure/src/receive/record-app.ts',
      'shared/measure/src/receive/respond-app.ts',
      'shared/measure/src/receive/rx-stack.ts',
      'shared/tcpip/src/ip/arp.ts',
      'shared/tcpip/src/ip/reassembly.ts',
      'shared/tcpip/src/tcp/control.ts',
      'shared/tcpip/src/tcp/table.ts',
      'shared/tcpip/src/tcp/tcp.ts',
    ],
    rules: { 'no-restricted-syntax': ['error', ...perFrameBans] },
  },
  {
    files: ['**/*.test.ts'],
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/no-misused-promises': 'off' },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        Buffer: 'readonly',
        setTimeout: 'readonly',
        URL: 'readonly',
        fetch: 'readonly',
      },
    },
  },
);
