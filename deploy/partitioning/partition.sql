-- Partitions the tables of flash-sale by product on PostgreSQL: `products`, `orders` and `waitlist_entries` become tables
-- with hash partitions, and every unique key of them names the product. docs/SCALING.md says when, and what it costs.
--
--   flash-sale migrate
--   psql -v ON_ERROR_STOP=1 -1 -c 'SET flash_sale.partitions = 16' -f deploy/partitioning/partition.sql "$URL"
--
-- Run it as the owner of the tables while no node runs: it copies the rows, and takes twice their space meanwhile. It is
-- one transaction, so that a run that fails or is stopped changes nothing. The number of partitions (8) cannot be
-- changed later without another copy.

DO $partition$
DECLARE
    partitions CONSTANT integer :=
        coalesce(nullif(current_setting('flash_sale.partitions', true), ''), '8');
    names CONSTANT text[] := ARRAY['products', 'orders', 'waitlist_entries'];
    keys CONSTANT text[] := ARRAY['id', 'product_id', 'product_id'];
    name text;
    key text;
    old_name text;
    part record;
    statement text;
    -- What the old tables have, as statements for the new ones.
    foreign_keys text[];
    triggers text[];
    indexes text[];
    sequences text[];
    grants text[];
    options text;
    last_number bigint;
    is_used boolean;
BEGIN
    IF partitions NOT BETWEEN 2 AND 1024 THEN
        RAISE EXCEPTION 'flash_sale.partitions: give a number from 2 to 1024, not %', partitions;
    END IF;
    LOCK TABLE products, orders, waitlist_entries IN ACCESS EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM pg_class WHERE oid = ANY (names::regclass[]) AND relkind <> 'r') THEN
        RAISE EXCEPTION 'the tables are partitioned already';
    END IF;
    IF EXISTS (SELECT FROM pg_index WHERE indrelid = ANY (names::regclass[])
            AND (indexprs IS NOT NULL OR NOT indisvalid)) THEN
        RAISE EXCEPTION 'an index is over an expression, or was not finished';
    END IF;

    SELECT array_agg(pg_get_triggerdef(oid)) INTO triggers
    FROM pg_trigger WHERE tgrelid = ANY (names::regclass[]) AND NOT tgisinternal;
    SELECT array_agg(format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname,
        pg_get_constraintdef(oid))) INTO foreign_keys
    FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (names::regclass[]);
    FOR statement IN
        SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
        FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (names::regclass[])
    LOOP
        EXECUTE statement;
    END LOOP;

    FOR name, key IN SELECT * FROM unnest(names, keys) LOOP
        old_name := name || '_whole';
        SELECT array_to_string(reloptions, ', ') INTO options
        FROM pg_class WHERE oid = name::regclass;
        -- A unique key gets the product as its last column: rows are still found by the others.
        SELECT array_agg(CASE
            WHEN NOT indisunique OR attnum = ANY (indkey) THEN definition
            ELSE regexp_replace(definition, '\)', format(', %I)', key)) END)
        INTO indexes
        FROM (SELECT indisunique, indkey::int2[] AS indkey, attnum, CASE WHEN indisprimary
                THEN format('ALTER TABLE %I ADD CONSTRAINT %I %s', name, conname,
                    pg_get_constraintdef(pg_constraint.oid))
                ELSE pg_get_indexdef(indexrelid) END AS definition
            FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attname = key
            LEFT JOIN pg_constraint ON conindid = indexrelid AND contype = 'p'
            WHERE indrelid = name::regclass) AS former;
        SELECT array_agg(format('GRANT %s ON %s TO %s', privilege_type,
            CASE relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END || quote_ident(relname),
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END))
        INTO grants
        FROM pg_class CROSS JOIN aclexplode(relacl)
        WHERE pg_class.oid = name::regclass OR pg_class.oid IN (
            SELECT pg_get_serial_sequence(name, attname)::regclass FROM pg_attribute
            WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped);
        sequences := ARRAY[]::text[];
        FOR part IN
            SELECT attname AS of_column, attidentity <> '' AS is_identity,
                pg_get_serial_sequence(name, attname) AS sequence
            FROM pg_attribute WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped
                AND pg_get_serial_sequence(name, attname) IS NOT NULL
        LOOP
            IF part.is_identity THEN
                -- Before version 17, partitioned tables have no identity columns.
                EXECUTE format('SELECT last_value, is_called FROM %s', part.sequence)
                INTO last_number, is_used;
                EXECUTE format('ALTER TABLE %I ALTER %I DROP IDENTITY', name, part.of_column);
                EXECUTE format('CREATE SEQUENCE %s', part.sequence);
                PERFORM setval(part.sequence, last_number, is_used);
            ELSE
                EXECUTE format('ALTER SEQUENCE %s OWNED BY NONE', part.sequence);
            END IF;
            sequences := sequences
                || format('ALTER TABLE %I ALTER %I SET DEFAULT nextval(%L)', name, part.of_column,
                    part.sequence)
                || format('ALTER SEQUENCE %s OWNED BY %I.%I', part.sequence, name, part.of_column);
        END LOOP;

        EXECUTE format('ALTER TABLE %I RENAME TO %I', name, old_name);
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES) '
            'PARTITION BY HASH (%I)', name, old_name, key);
        FOR number IN 0 .. partitions - 1 LOOP
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                name || '_p' || number, name, partitions, number)
                || coalesce(' WITH (' || options || ')', '');
        END LOOP;
        EXECUTE format('INSERT INTO %I SELECT * FROM %I', name, old_name);
        EXECUTE format('DROP TABLE %I', old_name);
        FOREACH statement IN ARRAY indexes || sequences || grants LOOP
            EXECUTE statement;
        END LOOP;
        -- The service knows a violated key by the name of the index, which is that of the partition's.
        FOR part IN
            SELECT parent.relname AS parent, child.relname AS child,
                substring(partition.relname FROM '_p[0-9]+$') AS suffix
            FROM pg_index JOIN pg_class AS parent ON parent.oid = pg_index.indexrelid
            JOIN pg_inherits ON inhparent = parent.oid
            JOIN pg_class AS child ON child.oid = inhrelid
            JOIN pg_index AS of_partition ON of_partition.indexrelid = child.oid
            JOIN pg_class AS partition ON partition.oid = of_partition.indrelid
            WHERE pg_index.indrelid = name::regclass
        LOOP
            EXECUTE format('ALTER INDEX %I RENAME TO %I', part.child, part.parent || part.suffix);
        END LOOP;
    END LOOP;

    -- A sku is unique among all products, which no index of one partition can ensure.
    CREATE TABLE product_skus (
        sku text NOT NULL,
        product_id uuid NOT NULL,
        CONSTRAINT products_sku_key_whole PRIMARY KEY (sku)
    );
    INSERT INTO product_skus SELECT sku, id FROM products WHERE archived_at IS NULL;
    FOR statement IN
        SELECT format('GRANT %s ON product_skus TO %s', privilege_type,
            CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
        FROM pg_class CROSS JOIN aclexplode(relacl) WHERE pg_class.oid = 'products'::regclass
    LOOP
        EXECUTE statement;
    END LOOP;

    FOREACH statement IN ARRAY coalesce(foreign_keys, '{}') || coalesce(triggers, '{}') LOOP
        EXECUTE statement;
    END LOOP;
END $partition$;

CREATE FUNCTION keep_skus_unique() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.archived_at IS NULL THEN
        DELETE FROM product_skus WHERE sku = OLD.sku;
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.archived_at IS NULL THEN
        INSERT INTO product_skus (sku, product_id) VALUES (NEW.sku, NEW.id);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER keep_skus_unique AFTER INSERT OR DELETE OR UPDATE OF sku, archived_at ON products
    FOR EACH ROW EXECUTE FUNCTION keep_skus_unique();

-- Not where there are no rows: PostgreSQL would plan to read the tables from end to end until it next analyzes them.
DO $$
BEGIN
    IF EXISTS (SELECT FROM products) THEN
        ANALYZE products, orders, waitlist_entries, product_skus;
    END IF;
END $$;
