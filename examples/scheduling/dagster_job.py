"""One day's orders as a Dagster asset, with one partition for each day. Materializing a partition
again replaces its folder.

The environment variables TIDEGATE, ORDERS and LAKE locate the program, the orders and the lake."""

import os
import subprocess
from pathlib import Path

from dagster import (
    AssetExecutionContext,
    Backoff,
    DailyPartitionsDefinition,
    Definitions,
    Failure,
    MaterializeResult,
    RetryPolicy,
    ScheduleDefinition,
    asset,
    define_asset_job,
)

SCRIPT = Path(__file__).with_name("export_orders.sql")


@asset(
    partitions_def=DailyPartitionsDefinition(start_date="2024-05-01"),
    # After a crash of its machine, an export still holds its target for a minute.
    retry_policy=RetryPolicy(max_retries=3, delay=90, backoff=Backoff.EXPONENTIAL),
)
def exported_orders(context: AssetExecutionContext) -> MaterializeResult:
    """One day's orders in the lake."""
    command = [
        os.environ.get("TIDEGATE", "tidegate"),
        "--progress=never",
        f"-vday={context.partition_key}",
        f"-vorders={os.environ['ORDERS']}",
        f"-vlake={os.environ['LAKE']}",
        f"--file={SCRIPT}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        # Dagster shows the error, retries, and notifies the job's failure sensors.
        raise Failure(description=done.stderr.strip(), metadata={"exit_status": done.returncode})
    tag = done.stdout.split()[-2:]
    context.log.info("exported %s rows", tag[1])
    return MaterializeResult(metadata={"rows": int(tag[1])})


nightly = define_asset_job("nightly_orders", selection=[exported_orders])

definitions = Definitions(
    assets=[exported_orders],
    jobs=[nightly],
    schedules=[ScheduleDefinition(job=nightly, cron_schedule="15 2 * * *")],
)
