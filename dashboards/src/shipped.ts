/** Where the shipped files are, and the shipped Prometheus configuration for a testbed without containers: other addresses, everything
 *  else the same. */
import { resolve, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readFileSync } from 'node:fs';
import { parse, stringify } from 'yaml';

/** The folder dashboards/ of the repository, seen from dist/src/. */
export const HOME = resolve(fileURLToPath(import.meta.url), '../../..');
export const REPOSITORY = resolve(HOME, '..');
export const JSON_DIR = resolve(HOME, 'grafana/dashboards');
export const PROVISIONING_DIR = resolve(HOME, 'grafana/provisioning');
export const PROMETHEUS_DIR = resolve(HOME, 'prometheus');

interface ScrapeConfig {
  http_sd_configs?: { url: string }[];
  static_configs?: { targets: string[] }[];
}

interface PrometheusConfig {
  rule_files: string[];
  scrape_configs: ScrapeConfig[];
}

/** @param hypervisor "host:port" at which the testbed's hypervisor answers
 *  @param page the same of its live page, which shows the experiment
 *  @param shipped the shipped configuration
 *  @returns YAML that works from any folder: the rules are named by their absolute path */
export function embeddedConfig(hypervisor: string, page: string, shipped = readShipped()): string {
  const config = parse(shipped) as PrometheusConfig;
  config.rule_files = config.rule_files.map((path) => join(PROMETHEUS_DIR, path));
  for (const scrape of config.scrape_configs) {
    for (const sd of scrape.http_sd_configs ?? []) {
      const url = new URL(sd.url);
      url.host = hypervisor;
      sd.url = url.href;
    }
    for (const given of scrape.static_configs ?? []) given.targets = [page];
  }
  return stringify(config);
}

function readShipped(): string {
  return readFileSync(join(PROMETHEUS_DIR, 'prometheus.yml'), 'utf8');
}
