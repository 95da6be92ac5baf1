/** grantline report: the page, the text and the plots of a comparison, again from its results. */
import type { Command } from 'commander';
import { hasCompare } from '../report/read.js';
import { reportLine } from '../report/results.js';
import { hasHttp, writeHttpReport, writeReport } from '../report/write.js';

interface ReportArguments {
  csv: boolean;
}

export function addReport(command: Command): void {
  command
    .option('--csv', 'write report.csv too: one row for each run', false)
    .action((dir: string, args: ReportArguments) => {
      const http = hasHttp(dir);
      // A folder with http.json alone has no comparison to report.
      if (!http || hasCompare(dir)) process.stdout.write(reportLine(dir, writeReport(dir, args)));
      if (http) process.stdout.write(reportLine(dir, writeHttpReport(dir)));
    });
}
